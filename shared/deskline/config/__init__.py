"""Configuration that the shop's managers write: YAML documents per shop, versioned, switched at an instant."""
