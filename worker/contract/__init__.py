"""What the control plane and the data plane agree on. The only part of  that  may import."""
