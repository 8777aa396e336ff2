"""Weights of torch's layers in our layout."""


def array(tensor):
    return tensor.detach().numpy()


def linear(layer):
    return {"kernel": array(layer.weight).T, "bias": array(layer.bias)}


def conv(layer):
    bias = {} if layer.bias is None else {"bias": array(layer.bias)}
    return {"kernel": array(layer.weight).transpose(2, 3, 1, 0), **bias}


def norm(layer):
    return {"scale": array(layer.weight), "bias": array(layer.bias)}


def randomised(network):
    """The network in eval mode, with random weights everywhere: fresh biases of 0 and norms of 1 would hide errors."""
    import torch

    torch.manual_seed(0)
    with torch.no_grad():
        for p in network.parameters():
            if p.ndim > 1:
                p.normal_(0, p[0].numel() ** -0.5)
            else:
                p.add_(torch.randn_like(p) * 0.2)
    return network.eval()
