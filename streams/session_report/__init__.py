"""The report of a session for afterwards: one HTML file that needs nothing else. Pure.

It runs no script and loads nothing: pictures and style are inside, and a policy in the file itself
says so to the browser (`POLICY`, for whoever serves it). Whatever was said, typed or recognised is
text in it, never markup. It is of bounded size, and tells what it left out.

    log = await streams.history.read_session(brokers, topics, session)
    page = html(log.results, log.texts, log.pictures, left_out=log.left_out)
"""

from streams.session_report.page import html
from streams.session_report.style import POLICY

__all__ = ["POLICY", "html"]
