"""Measuring a space.

* ``likelihood``, ``quadrature``, ``pairs``, ``binarised``: log p(x), estimated and, in two dimensions, exact;
* ``reconstruction``: MSE, PSNR, SSIM;
* ``aggregate``, ``doctor``: what the latent space is used for, and what is wrong with it;
* ``embedding``, ``disentanglement``: what latent means are good for;
* ``classifier``, ``samples``: how good samples are;
* ``records``: figures and their errors.
"""
