"""Instances that are whole machines: systemd boots in them, and its units run as on Azure. Linux and root only."""
