"""An S3 server on 127.0.0.1 that keeps everything in memory: `python -m tests.s3_server PORT`.

moto looks whether an object exists and makes it in two steps; S3 does both at once. So conditional requests go one
at a time here, or two could create one object.
"""

import sys
import threading

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

moto = DomainDispatcherApplication(create_backend_app)
one_at_a_time = threading.Lock()


def application(environ, start_response):
    if "HTTP_IF_NONE_MATCH" not in environ:
        return moto(environ, start_response)
    with one_at_a_time:
        return list(moto(environ, start_response))


if __name__ == "__main__":
    run_simple("127.0.0.1", int(sys.argv[1]), application, threaded=True)
