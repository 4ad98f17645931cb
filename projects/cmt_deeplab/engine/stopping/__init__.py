"""How a run of one or several processes ends early: by a signal, or because one stands still."""
