"""Fuzzing of everything that reads bytes from outside but HTTP (tests/unit/test_gateway_fuzz.py): ``make fuzz``, and a part of it in the suite."""
