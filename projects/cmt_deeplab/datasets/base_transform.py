"""What the transforms on image and index plane have in common."""

from mmcv.transforms import BaseTransform

from cmt_deeplab.errors import UserError


class PanopticTransform(BaseTransform):
    """A transform that prints its settings, so that the log of a run shows the whole pipeline."""

    def __repr__(self) -> str:
        settings = ', '.join(f'{key}={value}' for key, value in vars(self).items())
        return f'{type(self).__name__}({settings})'

    def __call__(self, results: dict) -> dict | None:
        try:
            return super().__call__(results)
        except KeyError as error:
            if error.args[0] not in ('img', 'ori_shape'):
                raise
            raise UserError(
                f'{type(self).__name__} finds no image: put LoadImageFromFile before it.'
            ) from error

    def require_plane(self, *all_results: dict) -> None:
        """Raise a :class:`UserError` where some of the results have no index plane."""
        if not all('gt_index_map' in results for results in all_results):
            raise UserError(
                f'{type(self).__name__} finds no index plane: put LoadPanopticIndexMap before it '
                '(and into its own pipeline, if it has one).'
            )
