# ruff: noqa: I001, SIM115, UP
"""A worker that speaks as the one of Coalition 4.0 did, for Python 2.7 and 3: URL NAME SECONDS.

It keeps one connection, posts forms, evaluates what it is given, tells the log so far every few
seconds and once more at the end, and asks for the next job at once.
"""

import base64
import os
import signal
import subprocess
import sys
import tempfile
import time

try:
    from httplib import HTTPConnection
    from urllib import urlencode
except ImportError:
    from http.client import HTTPConnection
    from urllib.parse import urlencode


def main(address, name, sleep):
    ask = Server(address, name).ask
    while True:
        # 4.0 evaluated what the server said.
        job, command, folder, _, environment = eval(ask("pickjob", **load()))
        if job == -1:
            time.sleep(sleep)
        else:
            work(ask, job, command, folder, environment, sleep)


class Server:
    def __init__(self, address, name):
        self.connection = HTTPConnection(address)
        self.name = name

    def ask(self, call, **fields):
        form = urlencode(dict(fields, hostname=self.name))
        headers = {"Content-type": "application/x-www-form-urlencoded", "Accept": "text/plain"}
        self.connection.request("POST", "/workers/" + call, form, headers)
        answer = self.connection.getresponse()
        text = answer.read().decode("utf-8")
        assert answer.status == 200, text
        return text


def load():
    return {"load": "[12]", "free_memory": 100, "total_memory": 200}


def work(ask, job, command, folder, environment, sleep):
    output = tempfile.TemporaryFile()
    own = dict(os.environ)
    own.update(item.split("=", 1) for item in native(environment).split("\\n") if "=" in item)
    process = subprocess.Popen(
        native(command),
        shell=True,
        cwd=native(folder),
        env=own,
        stdout=output,
        stderr=subprocess.STDOUT,
        preexec_fn=os.setsid,
    )
    told = tell(ask, job, output, 0)
    while process.poll() is None:
        time.sleep(sleep)
        told = tell(ask, job, output, told)
        if told is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            break
    if told is not None:
        tell(ask, job, output, told)
    assert ask("endjob", jobId=job, errorCode=process.returncode) == "None"


def tell(ask, job, output, told):
    """Send what was printed since the last time; None: the job is to be ended."""
    output.seek(told)
    log = output.read()
    output.seek(0, os.SEEK_END)
    goes_on = eval(ask("heartbeat", jobId=job, log=base64.b64encode(log), **load()).capitalize())
    return told + len(log) if goes_on else None


def native(text):
    """Give a text as this Python's system calls take it."""
    return text if sys.version_info[0] > 2 else text.encode("utf-8")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], float(sys.argv[3]))
