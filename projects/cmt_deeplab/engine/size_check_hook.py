"""The images of every data set must fit the input size of the model, before the first of them is read."""

from mmdet.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from cmt_deeplab.errors import UserError

from .class_check_hook import built_datasets


@HOOKS.register_module()
class PanopticSizeCheckHook(Hook):
    """Compares ``image_size`` of the data sets with ``data_preprocessor.size``; without one of the two nothing is compared.

    Raises:
        ValueError: an image would be larger than the input.
    """

    priority = 'VERY_HIGH'

    def before_run(self, runner) -> None:
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        size = getattr(getattr(model, 'data_preprocessor', None), 'size', None)
        for name, dataset in built_datasets(runner):
            image_size = getattr(dataset, 'image_size', None)
            if (
                size is not None
                and image_size is not None
                and (image_size[0] > size[0] or image_size[1] > size[1])
            ):
                raise UserError(
                    f'{name}.dataset.image_size is {tuple(image_size)}, but model.data_preprocessor.size is {tuple(size)}: '
                    'give both the same value.'
                )
