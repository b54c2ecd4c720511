"""How good the answers and the filter are, on real text: figures named by contract §7."""
