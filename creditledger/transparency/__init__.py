"""What can be proved: keys, trees, notes, certificates, policies and bundles. Pure."""
