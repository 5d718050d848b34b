"""What a VM does beside its slots: scheduled events, retiring."""
