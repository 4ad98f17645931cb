from .training import train
