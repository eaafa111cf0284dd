"""
@article{Chen2023,
  title   = {Cryo-EM image alignment: from pair-wise to joint with deep unsupervised difference learning},
  author  = {Chen, Yu-Xuan and Feng, Dagan and Shen, Hong-Bin},
  journal = {Journal of Structural Biology},
  volume  = {215},
  number  = {1},
  pages   = {107940},
  year    = {2023},
  doi     = {https://doi.org/10.1016/j.jsb.2023.107940}
}

@article{Chen2022,
  title   = {Unsupervised Difference Learning for Noisy Rigid Image Alignment},
  author  = {Chen, Yu-Xuan and Feng, Dagan and Shen, Hong-Bin},
  journal = {arXiv},
  year    = {2022},
  url     = {https://arxiv.org/abs/2205.11829}
}
"""
