"""The peer: what people write today. FastAPI, pydantic, tokenizers and ONNX Runtime, one text a run.

fastapi_server.py MODEL_DIR PORT
"""

import base64
import pathlib
import sys

import numpy as np
import onnxruntime
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, Field
from tokenizers import Tokenizer

folder, port = pathlib.Path(sys.argv[1]), int(sys.argv[2])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])
tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
app = FastAPI()


class Request(BaseModel):
    model: str
    input: str = Field(min_length=1)
    encoding_format: str = "float"


@app.post("/v1/embeddings")
def embeddings(request: Request):
    ids = np.array([tokenizer.encode(request.input).ids], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    vector = session.run(["sentence_embedding"], feeds)[0][0]
    base64_asked = request.encoding_format == "base64"
    embedding = base64.b64encode(vector.tobytes()).decode() if base64_asked else vector.tolist()
    usage = {"prompt_tokens": ids.size, "total_tokens": ids.size}
    data = [{"object": "embedding", "index": 0, "embedding": embedding}]
    return {"object": "list", "data": data, "model": request.model, "usage": usage}


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
