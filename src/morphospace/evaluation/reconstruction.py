"""How like an image its reconstruction is: MSE, PSNR and SSIM of the mean image at the posterior's mean."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.ndimage import correlate1d

from morphospace.evaluation.records import Figure, mean_over_images

__all__ = ["mse", "psnr", "reconstruction_figures", "ssim"]

WINDOW, SIGMA = 11, 1.5
"""Of SSIM's Gaussian window, in pixels (Wang et al. 2004, section III-C)."""
K1, K2 = 0.01, 0.03
"""SSIM's constants (Wang et al. 2004, section III-C); the range of pixel values is 1."""


def mse(x: Float[np.ndarray, "N C H W"], y: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, " N"]:
    """The mean squared difference of pixel values, which run from 0 to 1, for each image."""
    return np.asarray(np.square(x.astype(np.float64) - y).mean((1, 2, 3)))


def psnr(x: Float[np.ndarray, "N C H W"], y: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, " N"]:
    """The peak signal-to-noise ratio 10·log₁₀(1 / MSE) of each image, in dB; infinite for equal images."""
    with np.errstate(divide="ignore"):
        return np.asarray(-10 * np.log10(mse(x, y)))


def ssim(x: Float[np.ndarray, "N C H W"], y: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, " N"]:
    """The structural similarity of each pair of images, the mean over places and channels; 1 for equal images.

    A Gaussian window of 11×11 pixels with σ = 1.5, at places where it lies wholly within the image; of images smaller
    than that, the largest odd window that fits. Wang, Bovik, Sheikh & Simoncelli (2004), Image quality assessment:
    from error visibility to structural similarity, IEEE TIP 13(4), eq. 13.
    """
    side = min(WINDOW, min(x.shape[2:]) - (min(x.shape[2:]) + 1) % 2)
    half = side // 2
    window = np.exp(-0.5 * np.square((np.arange(side) - half) / SIGMA))
    window /= window.sum()

    def blur(image: Float[np.ndarray, "N C H W"]) -> Float[np.ndarray, "N C h w"]:
        wide = correlate1d(correlate1d(image, window, axis=2), window, axis=3)
        return np.asarray(wide[:, :, half : x.shape[2] - half, half : x.shape[3] - half])

    x, y = x.astype(np.float64), y.astype(np.float64)
    mean_x, mean_y = blur(x), blur(y)
    var_x, var_y = blur(x * x) - mean_x**2, blur(y * y) - mean_y**2
    both = blur(x * y) - mean_x * mean_y
    c1, c2 = K1**2, K2**2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * both + c2) / (var_x + var_y + c2)
    return np.asarray((luminance * structure).mean((1, 2, 3)))


def reconstruction_figures(
    x: Float[np.ndarray, "N C H W"], y: Float[np.ndarray, "N C H W"]
) -> dict[str, Figure]:
    """All figures of reconstructions ``y`` of images ``x``, values in [0, 1]."""
    ratio = psnr(x, y)
    return {
        "mse": mean_over_images(mse(x, y), "mean squared error of pixel values from 0 to 1"),
        "psnr": mean_over_images(
            ratio[np.isfinite(ratio)], "peak signal-to-noise ratio, the mean over images that differ", "dB"
        ),
        "ssim": mean_over_images(
            ssim(x, y), "structural similarity, 11×11 Gaussian window, σ = 1.5 (Wang et al. 2004)"
        ),
    }
