"""What an NVIDIA card refuses: to do what would not repeat itself, and to record what a CUDA graph cannot hold.

Both are told by the operation of aten and its arguments, so that `tests.pretended` can refuse it without a card.
"""

import torch

# Read off the binaries of torch 2.11.0+cu130 (libtorch_cuda.so and libtorch_cpu.so): every function that calls
# `Context::alertNotDeterministic`, and the operation that it carries out. The docstring of
# `torch.use_deterministic_algorithms` names the same ones and two more, `cumsum` and the last line.
_UNREPEATABLE = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "adaptive_max_pool2d_backward"),
    *("avg_pool3d_backward", "max_pool3d_with_indices_backward", "max_unpool2d", "max_unpool3d"),
    *("fractional_max_pool2d_backward", "fractional_max_pool3d_backward"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "nll_loss2d_forward", "_ctc_loss_backward"),
    *("index_reduce", "put", "reflection_pad1d_backward", "reflection_pad3d_backward"),
    *("replication_pad1d_backward", "replication_pad2d_backward", "replication_pad3d_backward"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("upsample_trilinear3d_backward", "_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
    *("reflection_pad2d_backward",),
}
# Those that it refuses for some arguments alone.
_SOMETIMES = {
    "bincount": lambda given: given["weights"] is not None,
    "cumsum": lambda given: given["self"].is_floating_point(),
    "_embedding_bag_backward": lambda given: given["mode"] == 2,
    "histc": lambda given: given["self"].is_floating_point(),
    # Of all numbers it returns the number alone; along a dimension, their places too.
    "median": lambda given: "dim" in given,
    "nanmedian": lambda given: "dim" in given,
    # Sums and means go by a sorted `index_put`.
    "scatter": lambda given: isinstance(given.get("src"), torch.Tensor) and given.get("reduce") == "multiply",
    "scatter_reduce": lambda given: given["reduce"] == "prod",
}

# What reads a number off the device, or makes a tensor whose size depends on numbers there.
_READS = {
    *("_local_scalar_dense", "equal", "is_nonzero", "item", "nonzero", "argwhere", "masked_select"),
    *("bincount", "histc", "unique_dim", "unique_consecutive", "_unique", "_unique2"),
}


def unrepeatable(func, args, kwargs) -> bool:
    """Whether a card refuses an operation while torch has to repeat itself."""
    name = _name(func)
    return name in _UNREPEATABLE or (name in _SOMETIMES and _SOMETIMES[name](_given(func, args, kwargs)))


def unrecordable(func, args, kwargs) -> str | None:
    """What a CUDA graph cannot hold of an operation on tensors of a card, or None."""
    name, given = _name(func), _given(func, args, kwargs)
    repeats = name == "repeat_interleave" and isinstance(given["repeats"], torch.Tensor)
    if name in _READS or (repeats and given["output_size"] is None):
        return "a number that is read off the card"
    # One value under a mask is filled in, without counting.
    chooses = name == "index" or (name == "index_put" and given["values"].numel() > 1)
    if chooses and any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in given["indices"]):
        return "a tensor as long as a mask has places"
    if _draws(func, given):
        return "a draw"
    return None


def _draws(func, given) -> bool:
    # Torch's own generator would go on with every replay from wherever it is; another one is not known to the graph.
    if torch.Tag.nondeterministic_seeded not in func.tags:
        return False
    return given.get("dropout_p", given.get("p", 1)) != 0


def _name(func) -> str:
    name = func._schema.name.removeprefix("aten::")
    return name if name.startswith("_") and name.endswith("_") else name.removesuffix("_")


def _given(func, args, kwargs):
    found = {a.name: a.default_value if a.has_default_value() else None for a in func._schema.arguments}
    return found | dict(zip(found, args, strict=False)) | kwargs
