"""Wave-U-Net for speech enhancement (Macartney and Weyde 2018).

Imports: audiosep_training.config, audiosep_training.data, audiosep_training.systems; numpy,
torch.
"""
