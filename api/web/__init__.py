"""The parts that every request passes through and every answer is made with: gate, errors, entity tags, bodies."""
