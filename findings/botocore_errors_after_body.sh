#!/usr/bin/env bash
# botocore raises ProxyConnectionError and SSLError after the whole request was sent, and the server had it.
#
# Both names, and the first one's text ("Failed to connect to proxy URL"), say that there was no connection. A caller that
# takes them for "nothing was sent" writes twice without knowing. Here a server on this machine reads a whole valid
# PutRecords request, and only then ends the connection: behind a proxy, and with bytes that are no TLS record.
# Exits 0 while botocore behaves so, 1 if that changes.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check botocore==1.44.5 urllib3==2.8.0 trustme==1.2.1
cat > "$work/try.py" <<'PYTHON'
import os, re, socket, ssl, sys, threading
import botocore.session, trustme, urllib3
from botocore.config import Config

authority = trustme.CA()
authority.cert_pem.write_to_path(sys.argv[1])
tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
authority.issue_cert("localhost").configure_cert(tls)
listening = socket.create_server(("127.0.0.1", 0))
port = listening.getsockname()[1]
whole = []  # for each request: was all of its body read?


def serve(secure):
    client, _ = listening.accept()
    if secure:
        client = tls.wrap_socket(client, server_side=True)
    data = b""
    while b"\r\n\r\n" not in data:
        data += client.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head, re.I)[1])
    while len(body) < length and (more := client.recv(65536)):
        body += more
    whole.append(len(body) == length)
    if secure:
        os.write(client.fileno(), b"\x17\x03\x03\x00\x40" + bytes(64))
    client.close()


def put(secure):
    threading.Thread(target=serve, args=(secure,), daemon=True).start()
    session = botocore.session.Session()
    session.set_credentials("key", "secret")
    proxies = {} if secure else {"http": f"http://127.0.0.1:{port}"}
    endpoint = f"https://localhost:{port}" if secure else "http://localhost:9"
    config = Config(retries={"total_max_attempts": 1}, proxies=proxies)
    client = session.create_client("kinesis", "us-east-1", endpoint_url=endpoint, verify=sys.argv[1], config=config)
    try:
        client.put_records(StreamName="orders", Records=[{"Data": b"x", "PartitionKey": "k"}])
    except Exception as error:
        print(f"the server had the whole body: {whole[-1]}; {type(error).__name__}: {error}")
        return type(error).__name__ if whole[-1] else "?"


print(f"botocore {botocore.__version__}, urllib3 {urllib3.__version__}")
sys.exit(0 if (put(False), put(True)) == ("ProxyConnectionError", "SSLError") else 1)
PYTHON
if env -i PATH="$PATH" HOME="$work" NO_PROXY= "$work/venv/bin/python" "$work/try.py" "$work/ca.pem"; then
    echo "as described: both are raised after the request was sent"
else
    echo "botocore behaves otherwise now"
    exit 1
fi
