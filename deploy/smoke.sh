#!/bin/sh
# Starts an installed server with the embedded base model, requests a transcript and stops the server.
#
#   sh deploy/smoke.sh TARGET RECORDING
set -eu
target=${1:?"usage: sh deploy/smoke.sh TARGET RECORDING"}
recording=${2:?"give a recording"}
port=${PORT:-8765}
model=$("$target/bin/python" -c 'from asr_adapt import bundled; print(bundled.folder("base"))')
"$target/bin/asr-adapt" serve --model "base=$model" --port "$port" &
server=$!
trap 'kill "$server" 2>/dev/null || true' EXIT
python3 - "$port" "$recording" <<'PYTHON'
import json, sys, time, urllib.error, urllib.request, uuid
url, recording = f"http://127.0.0.1:{sys.argv[1]}", sys.argv[2]
for attempt in range(120):
    try:
        urllib.request.urlopen(f"{url}/ready")
        break
    except OSError:
        time.sleep(1)
else:
    sys.exit("the server did not become ready")
boundary = uuid.uuid4().hex
with open(recording, "rb") as file:
    body = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
            + file.read() + f"\r\n--{boundary}--\r\n".encode())
request = urllib.request.Request(f"{url}/v1/audio/transcriptions", body,
                                 {"Content-Type": f"multipart/form-data; boundary={boundary}"})
print(json.load(urllib.request.urlopen(request))["text"])
PYTHON
kill -TERM "$server"
wait "$server" || [ $? = 143 ]
