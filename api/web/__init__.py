"""What every request passes and every answer is made of: the gate, errors, entity tags, bodies."""
