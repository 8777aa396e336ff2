"""`dataseg demo`: a local web page on which models answer words, phrases, clicks, boxes and videos.

`command` has the flags and serves the page, `models` opens checkpoints, `examples` draws images and a video, `pictures`
reads what is uploaded; `words`, `phrases`, `foreground`, `prompts` and `video` answer, without Gradio; `page` is the
only one that knows Gradio's components, `look` has their style.
"""
