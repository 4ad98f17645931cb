"""The page: its parts, and its answers when something is dropped, clicked or moved."""

import os
from collections.abc import Callable
from html import escape
from threading import Lock
from typing import Any

from cmt_deeplab.errors import MissingPackageError, UserError
from cmt_deeplab.inference import PanopticInferencer
from cmt_deeplab.inference.held import HeldImage, merge_settings
from demo_view import Limits, View

try:
    import gradio as gr
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
except ImportError as error:
    raise MissingPackageError(
        'The page needs the optional package gradio: pip install "cmt-deeplab[demo]".'
    ) from error

LOOPBACK = ('127.0.0.1', 'localhost')
VISITORS = 8  # visitors whose last images are kept
HOUR = 3600  # seconds after which the files and images of a visitor are removed
WORDS = {  # the name of each threshold of a merge, and what it does
    'thing_threshold': ('Class probability of things', 'Objects below it are left out.'),
    'stuff_threshold': ('Class probability of stuff', 'Regions below it are left out.'),
    'class_threshold': ('Class probability', 'Segments below it are left out.'),
    'pixel_threshold': ('Mask probability', 'A mask consists of the pixels above it.'),
    'overlap_threshold': ('Free share', 'Masks with a smaller uncovered share are left out.'),
}
COLUMNS = dict(
    headers=['id', '', 'class', 'score', 'pixels'],
    datatype=['number', 'html', 'str', 'str', 'number'],
)
SHOWN = dict(interactive=False, show_label=False, buttons=['download', 'fullscreen'])
LAYERS = (
    'Each pixel has the color of the cluster center that the layer assigns it to, paler where the '
    'layer is undecided. A center has the color of the segment that it becomes.'
)
CSS = """
.gradio-container {width: 100%; max-width: 1280px !important; margin: auto}
.notice p, .chosen p {margin: 0; padding: .6em .9em; border-radius: .5em}
.notice p {background: #fdecea; color: #7a1410; border: 1px solid #f3b4ae}
.chosen p {background: var(--background-fill-secondary); border: 1px solid
  var(--border-color-primary)}
.swatch {display: inline-block; width: 1em; height: 1em; border-radius: .25em;
  vertical-align: -.12em}
"""
# The browser fetches nothing from elsewhere; gradio writes scripts and styles into the page itself.
POLICY = (
    b"default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    b"style-src 'self' 'unsafe-inline'"
)


class OnlyFromHere:
    """Tells the browser, in a header of each answer, to fetch nothing from other addresses."""

    def __init__(self, app: Callable) -> None:
        self.app = app

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def send_with_policy(message: dict) -> None:
            if message['type'] == 'http.response.start':
                message['headers'] = [*message['headers'], (b'content-security-policy', POLICY)]
            await send(message)

        await self.app(scope, receive, send_with_policy)


def build_page(inferencer: PanopticInferencer, title: str, limits: Limits) -> gr.Blocks:
    """The page for one model, with the heading ``title``."""
    classes, settings = inferencer.classes, merge_settings(inferencer.network.model)
    one_at_a_time = Lock()  # all visitors share the model

    def values(moved: tuple) -> tuple[dict, dict]:
        """The thresholds by class, and the settings of the merge, from their controls."""
        of_classes, *others = moved
        return of_classes, dict(zip(settings, others))

    def shown(view: View, step: int) -> list:
        return [view, '', view.picture, view.words(), view.rows(), *layer(view, step)]

    def layer(view: View | None, step: int) -> list:
        if view is None or not view.layers:
            return [gr.skip(), None]
        step = min(step, len(view.layers))
        name, picture = view.layers[step - 1]
        slider = gr.Slider(maximum=len(view.layers), value=step, label=name)
        return [slider, picture]

    def opened(path: str, step: int, *moved: Any) -> list:
        try:
            limits.check(path)
            with one_at_a_time:
                return [None, *shown(View(HeldImage(inferencer, path), *values(moved)), step)]
        except UserError as error:
            text = str(error).replace(f'{os.path.dirname(path)}{os.sep}', '')
            sentence = f'<p role="alert">{escape(text)}</p>'
            return [None, None, sentence, None, '', [], gr.skip(), None]

    def merged(view: View | None, step: int, *moved: Any) -> list:
        if view is None:
            return [gr.skip()] * 7
        with one_at_a_time:
            return shown(View(view.held, *values(moved)), step)

    def chosen(view: View | None, number: int) -> list:
        if view is None:
            return [gr.skip()] * 2
        return [view.chosen(number) if number else view.picture, view.words(number)]

    def clicked(view: View | None, event: gr.SelectData) -> list:
        return chosen(view, view.segment_at(*event.index) if view else 0)

    def row_chosen(view: View | None, event: gr.SelectData) -> list:
        return chosen(view, int(event.row_value[0] or 0))

    def limit_of(name: str, *moved: Any) -> float:
        """The class probability that a class needs at present."""
        of_classes, current = values(moved)
        kind = 'thing' if classes.index(name) < inferencer.network.num_things_classes else 'stuff'
        of_kind = current.get(f'{kind}_threshold', current.get('class_threshold', 0))
        return of_classes.get(name, of_kind)

    def of_the_model(name: str) -> list:
        return [{}, limit_of(name, {}, *settings.values()), *settings.values()]

    with gr.Blocks(
        title=title, fill_width=True, analytics_enabled=False, delete_cache=(HOUR, HOUR)
    ) as page:
        view = gr.State(time_to_live=HOUR)
        of_classes = gr.State({})
        gr.HTML(f'<h1>{escape(title)}</h1>', padding=True)
        with gr.Row():
            with gr.Column(scale=3, min_width=340):
                file = gr.File(label='Image', height=130, elem_id='file')
                notice = gr.HTML(elem_classes='notice')
                with gr.Tab('Segments'):
                    picture = gr.Image(elem_id='picture', **SHOWN)
                    words = gr.HTML(elem_classes='chosen', elem_id='chosen')
                with gr.Tab('Clusters, layer by layer', visible=bool(settings)):
                    step = gr.Slider(1, 2, 1, step=1, label='Layer', elem_id='layer')
                    layer_picture = gr.Image(elem_id='layer_picture', **SHOWN)
                    gr.HTML(f'<p>{LAYERS}</p>', elem_classes='chosen')
            with gr.Column(scale=2, min_width=340):
                table = gr.Dataframe(
                    **COLUMNS, interactive=False, label='Segments', type='array', elem_id='table'
                )
                with gr.Accordion('Thresholds', visible=bool(settings)):
                    sliders = [
                        gr.Slider(0, 1, value, step=0.01, label=label, info=info, elem_id=name)
                        for name, value in settings.items()
                        for label, info in [WORDS[name]]
                    ]
                    name = gr.Dropdown(list(classes), value=classes[0], label='One class')
                    limit = gr.Slider(
                        0,
                        1,
                        limit_of(classes[0], {}, *settings.values()),
                        step=0.01,
                        label='Class probability of this class',
                        elem_id='of_class',
                    )
                    reset = gr.Button('As in the model', size='sm')
        everything = [view, notice, picture, words, table, step, layer_picture]
        moved = [of_classes, *sliders]
        file.upload(opened, [file, step, *moved], [file, *everything], api_name='open')
        for slider in sliders:
            slider.input(merged, [view, step, *moved], everything, trigger_mode='always_last')
        name.change(limit_of, [name, *moved], limit)
        limit.input(
            lambda value, name, known: {**known, name: value},
            [limit, name, of_classes],
            of_classes,
            trigger_mode='always_last',
        ).then(merged, [view, step, *moved], everything)
        reset.click(of_the_model, name, [of_classes, limit, *sliders]).then(
            merged, [view, step, *moved], everything
        )
        picture.select(clicked, view, [picture, words])
        table.select(row_chosen, view, [picture, words])
        step.input(layer, [view, step], [step, layer_picture], trigger_mode='always_last')
    return page


def launch(
    page: gr.Blocks, limits: Limits, *, host: str, port: int | None, open_browser: bool
) -> None:
    """Serve the page until it is interrupted.

    Raises:
        UserError: the address or the port cannot be used.
    """
    fonts = ('system-ui', 'sans-serif'), ('ui-monospace', 'monospace')
    middleware = [Middleware(OnlyFromHere)]
    if host in LOOPBACK:  # refuse requests under foreign host names that resolve to this computer
        middleware.append(Middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK]))
    try:
        _, address, _ = page.launch(
            share=False,
            server_name=host,
            server_port=port,
            inbrowser=open_browser,
            max_file_size=limits.megabytes << 20,
            state_session_capacity=VISITORS,
            footer_links=[],
            ssr_mode=False,
            mcp_server=False,
            theme=gr.themes.Default(primary_hue='blue', font=fonts[0], font_mono=fonts[1]).set(
                block_info_text_color='*body_text_color'  # gradio's gray is too pale to read
            ),
            css=CSS,
            app_kwargs=dict(middleware=middleware),
            enable_monitoring=False,
            quiet=True,
            prevent_thread_lock=True,
        )
    except Exception as error:  # of several kinds
        raise UserError(
            f'The page cannot be served at {host}, port {port or "from 7860 on"} '
            f'({" ".join(str(error).split()).rstrip(".")}): name another by --host or --port.'
        ) from error
    print(f'The page is at {address} until you press Ctrl+C.', flush=True)
    page.block_thread()
