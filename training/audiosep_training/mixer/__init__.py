"""Mixtures made on a device: sounds drawn, augmented, mixed and asked for, a batch at a time.

A batch is a function of the seed, the process and its own number. This folder runs on a machine
that has PyTorch and NumPy alone.

Imports: numpy, torch.
"""
