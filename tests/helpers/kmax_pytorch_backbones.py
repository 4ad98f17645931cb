"""The backbones of bytedance/kmax-deeplab, slowly: attributes give the names of its checkpoints."""

import torch
import torch.nn.functional as F
from torch import nn


class Norm(nn.Module):
    """Batch norm in evaluation, any number of axes; ``SyncBatchNorm``'s names, eps 1e-3."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))
        self.register_buffer('num_batches_tracked', torch.tensor(0))

    def forward(self, x):
        shape = [1, -1] + [1] * (x.dim() - 2)
        weight, bias, mean, var = (
            t.view(shape) for t in (self.weight, self.bias, self.running_mean, self.running_var)
        )
        return weight * (x - mean) / torch.sqrt(var + 1e-3) + bias


class ChannelNorm(nn.Module):
    """Layer norm over axis 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = (
            nn.Parameter(torch.ones(channels)),
            nn.Parameter(torch.zeros(channels)),
        )

    def forward(self, x):
        centered = x - x.mean(1, keepdim=True)
        x = centered / torch.sqrt(centered.square().mean(1, keepdim=True) + 1e-6)
        return self.weight.view(1, -1, 1, 1) * x + self.bias.view(1, -1, 1, 1)


class ConvBN(nn.Module):
    def __init__(
        self,
        inputs,
        outputs,
        size=1,
        *,
        dims=2,
        act=None,
        bias=False,
        norm=True,
        dilation=1,
        groups=1,
    ) -> None:
        super().__init__()
        conv = nn.Conv1d if dims == 1 else nn.Conv2d
        self.conv = conv(
            inputs,
            outputs,
            size,
            padding=dilation * (size // 2),
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = Norm(outputs) if norm else nn.Identity()
        self.act = act or nn.Identity()

    def forward(self, x):
        return self.act(self.norm(self.conv(x)))


class NormedConv(nn.Conv2d):
    """Detectron2's convolution, the norm its child."""

    def __init__(self, inputs, outputs, size, stride=1) -> None:
        super().__init__(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
        self.norm = Norm(outputs)

    def forward(self, x):
        return self.norm(super().forward(x))


class Bottleneck(nn.Module):
    def __init__(self, inputs, width, stride) -> None:
        super().__init__()
        self.shortcut = NormedConv(inputs, 4 * width, 1, stride) if inputs != 4 * width else None
        self.conv1 = NormedConv(inputs, width, 1)
        self.conv2 = NormedConv(width, width, 3, stride)
        self.conv3 = NormedConv(width, 4 * width, 1)

    def forward(self, x):
        y = self.conv3(F.relu(self.conv2(F.relu(self.conv1(x)))))
        return F.relu(y + (x if self.shortcut is None else self.shortcut(x)))


class ResNet50(nn.Module):
    """``channels`` are those of res2 to res5; the stem's feature is behind the max pooling."""

    channels, stem_channels = (256, 512, 1024, 2048), 64

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Module()
        self.stem.conv1 = NormedConv(3, 64, 7, 2)
        inputs = 64
        for stage, count in zip((2, 3, 4, 5), (3, 4, 6, 3)):
            width = 2 ** (stage + 4)
            blocks = [
                Bottleneck(inputs if i == 0 else 4 * width, width, 2 if i == 0 and stage > 2 else 1)
                for i in range(count)
            ]
            self.add_module(f'res{stage}', nn.Sequential(*blocks))
            inputs = 4 * width

    def forward(self, x):
        """The stem behind the max pooling, then res2 to res5."""
        x = F.max_pool2d(F.relu(self.stem.conv1(x)), 3, 2, 1)
        features = [x]
        for stage in (2, 3, 4, 5):
            x = getattr(self, f'res{stage}')(x)
            features.append(x)
        return features


class ConvNeXtBlock(nn.Module):
    def __init__(self, width) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.pwconv1, self.pwconv2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x):
        y = self.norm(self.dwconv(x)).permute(0, 2, 3, 1)
        y = self.gamma * self.pwconv2(F.gelu(self.pwconv1(y)))
        return x + y.permute(0, 3, 1, 2)


class ConvNeXtTiny(nn.Module):
    channels, stem_channels = (96, 192, 384, 768), 96

    def __init__(self) -> None:
        super().__init__()
        widths = self.channels
        layers = [nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), ChannelNorm(widths[0]))]
        layers += [
            nn.Sequential(ChannelNorm(a), nn.Conv2d(a, b, 2, stride=2))
            for a, b in zip(widths, widths[1:])
        ]
        self.downsample_layers = nn.ModuleList(layers)
        self.stages = nn.ModuleList(
            nn.Sequential(*(ConvNeXtBlock(w) for _ in range(n)))
            for w, n in zip(widths, (3, 3, 9, 3))
        )

    def forward(self, x):
        features = []
        for i in range(4):
            x = self.downsample_layers[i](F.pad(x, (1, 2, 1, 2) if i == 0 else (0, 1, 0, 1)))
            features += [x] if i == 0 else []
            x = self.stages[i](x)
            features.append(x)
        return features
