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

@inproceedings{He2016,
  title     = {Deep residual learning for image recognition},
  author    = {He, Kaiming and Zhang, Xiangyu and Ren, Shaoqing and Sun, Jian},
  booktitle = {IEEE Conference on Computer Vision and Pattern Recognition},
  pages     = {770--778},
  year      = {2016},
  doi       = {https://doi.org/10.1109/CVPR.2016.90}
}

@inproceedings{Zhang2020,
  title     = {Content-aware unsupervised deep homography estimation},
  author    = {Zhang, Jirong and Wang, Chuan and Liu, Shuaicheng and Jia, Lanpeng and Ye, Nianjin and Wang, Jue and
               Zhou, Ji and Sun, Jian},
  booktitle = {European Conference on Computer Vision},
  year      = {2020},
  doi       = {https://doi.org/10.1007/978-3-030-58452-8_38}
}
"""
