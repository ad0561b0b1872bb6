"""What stands before a probe: budgets, breakers, storms, places in line."""
