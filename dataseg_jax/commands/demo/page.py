"""The page of `dataseg demo`: its tabs, the picture that they share, and how it is served."""

import html

from dataseg_jax.commands.demo import examples, foreground, layout, look, phrases, prompts, video, words
from dataseg_jax.commands.demo.answers import Answer
from dataseg_jax.commands.demo.models import Models
from dataseg_jax.commands.demo.pictures import MOST_BYTES, Picture, displayed, open_picture
from dataseg_jax.errors import InputError

_KEPT = (600, 3600)  # Seconds: every ten minutes what is older than an hour is removed.
_HEAD = "<h1>dataseg demo</h1><p>{}. Nothing leaves this machine.</p>"
_TABS = (
    ("Words", "words", words),
    ("Phrase", "phrases", phrases),
    ("Foreground", "foreground", foreground),
    ("Clicks and boxes", "prompts", prompts),
)


def build(models: Models):
    """The `gradio.Blocks` of the page."""
    import gradio as gr

    first = _example(0)
    with gr.Blocks(title="dataseg demo", analytics_enabled=False, delete_cache=_KEPT, fill_width=True) as page:
        gr.HTML(_HEAD.format(html.escape(" and ".join(models.names))), elem_id="head")
        picture, chosen, tabs = gr.State(first), gr.State(False), []
        for title, name, module in _TABS:
            with gr.Tab(title) as opened:
                if name in models.lacks:
                    layout.lack(gr, models.lacks[name])
                else:
                    tabs.append(tab := module.build(gr, models, picture))
                    if tab.ask:
                        opened.select(tab.ask[0], tab.ask[1], [tab.shown, tab.said], **layout.MODEL)
        with gr.Tab("Video"):
            if "video" in models.lacks:
                layout.lack(gr, models.lacks["video"])
            else:
                video.build(gr, models)
        _share(gr, page, picture, chosen, tabs, first)
    return page


def launch(page, host: str, port: int) -> None:
    """Serves the page in threads of this process, without Gradio's links and what it asks of other hosts."""
    import gradio as gr
    from starlette.middleware import Middleware

    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}  # No fonts of Google.
    page.queue(max_size=32, api_open=False).launch(
        server_name=host, server_port=port, share=False, quiet=True, prevent_thread_lock=True, ssr_mode=False,
        pwa=False, mcp_server=False, enable_monitoring=False, state_session_capacity=64, run_history=False,
        footer_links=[], show_error=False,
        max_file_size=max(MOST_BYTES, video.MOST_BYTES), theme=gr.themes.Default(primary_hue="teal", **fonts),
        css=look.CSS, head=look.DRAG, app_kwargs={"middleware": [Middleware(OwnOrigin)]},
    )  # fmt: skip


class OwnOrigin:
    """ASGI middleware that sends `look.POLICY` with every answer."""

    def __init__(self, app):
        self._app = app

    async def __call__(self, scope, receive, send):
        async def with_policy(message):
            if message["type"] == "http.response.start":
                headers = [*message.get("headers", []), (b"content-security-policy", look.POLICY.encode())]
                message = message | {"headers": headers}
            await send(message)

        await self._app(scope, receive, with_policy if scope["type"] == "http" else send)


def _example(index: int) -> Picture:
    return Picture(*list(examples.images().items())[index])


def _share(gr, page, picture, chosen, tabs: list, first: Picture) -> None:
    """Another picture, chosen in any of the tabs, is that of all."""
    resets = [(component, value) for tab in tabs for component, value in tab.reset]
    outputs = [picture, chosen, *(tab.side.view for tab in tabs), *(tab.shown for tab in tabs)]
    outputs += [tab.said for tab in tabs] + [component for component, _ in resets]

    def shown(new: Picture) -> tuple:
        lines = [layout.said(Answer(None, f"{new.note} {tab.asked}".strip())) for tab in tabs]
        view = displayed(new.image)
        return new, True, *[view] * len(tabs), *[None] * len(tabs), *lines, *(value for _, value in resets)

    def refused(tab, error: InputError) -> tuple:
        lines = [layout.said(Answer(None, str(error), True)) if other is tab else gr.skip() for other in tabs]
        return gr.skip(), False, *[gr.skip()] * (2 * len(tabs)), *lines, *[gr.skip()] * len(resets)

    def connect(tab) -> None:
        def on_example(event: gr.SelectData):
            return shown(_example(event.index))

        def on_upload(path):
            try:
                return shown(open_picture(path))
            except InputError as error:
                return refused(tab, error)

        def on_chosen(chosen, *given):
            return tab.ask[0](*given) if chosen else (gr.skip(), gr.skip())

        events = (
            tab.side.examples.select(on_example, None, outputs, **layout.QUICK),
            tab.side.upload.upload(on_upload, tab.side.upload, outputs, **layout.QUICK),
        )
        for event in events if tab.ask else ():
            event.then(on_chosen, [chosen, *tab.ask[1]], [tab.shown, tab.said], **layout.MODEL)

    for tab in tabs:
        connect(tab)
    if tabs:
        start = tabs[0].ask or (lambda: (None, ""), [])
        page.load(lambda: shown(first), None, outputs, **layout.QUICK).then(
            start[0], start[1], [tabs[0].shown, tabs[0].said], **layout.MODEL
        )
