"""A web service that labels an upload, and live audio through a WebSocket.

    uvicorn --app-dir runtime/examples service:app
    curl -F recording=@runtime/examples/hello.wav localhost:8000/label

The WebSocket /live takes blocks of 16 kHz mono samples as bytes of float32, and sends a message for
each second. An upload of more than 50 MB is refused.
"""

import numpy as np
from fastapi import FastAPI, HTTPException, UploadFile, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool

import voxmood

MOST_BYTES = 50_000_000
app = FastAPI(title="voxmood")
model = voxmood.load(threads=1)  # once for each process; requests share it


@app.post("/label")
def label(recording: UploadFile) -> dict[str, object]:
    """Label an uploaded recording, in one of the threads that FastAPI keeps for this."""
    if (recording.size or 0) > MOST_BYTES:
        raise HTTPException(413, f"The recording has more than {MOST_BYTES} bytes.")
    try:
        prediction = model.predict(recording.file)
    except voxmood.AudioError as error:
        raise HTTPException(422, str(error)) from error
    return {"label": prediction.label, "probabilities": prediction.probabilities}


@app.websocket("/live")
async def live(socket: WebSocket) -> None:
    """Label audio that arrives in blocks, window by window."""
    await socket.accept()
    stream = voxmood.Stream(model, 16000, window=3.0, hop=1.0, newest_only=True)
    try:
        while True:
            samples = np.frombuffer(await socket.receive_bytes(), np.float32)
            for segment in await run_in_threadpool(stream.push, samples):
                await socket.send_json({"end": segment.end, "label": segment.label})
    except WebSocketDisconnect:
        pass
    except ValueError as error:  # bytes that are no samples; voxmood.AudioError is one, too
        await socket.close(1003, str(error))
