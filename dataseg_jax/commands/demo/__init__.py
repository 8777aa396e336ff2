"""`dataseg demo`: a local web page on which models answer words, phrases, clicks, boxes and videos.

`command` has the flags and serves the page, `models` opens checkpoints, `examples` draws images and a video, `pictures`
reads what is uploaded. `words`, `phrases`, `foreground`, `prompts` and `video` are its tabs: functions that answer, and
`build`, the components that call them. `layout` is what these share, `look` their style. `page` puts them together; it
alone imports Gradio, when a page is built, so that importing any of these needs no extra.
"""
