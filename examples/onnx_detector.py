"""A detector without negprompt and PyTorch (pip install onnxruntime pillow): onnx_detector.py FILE.onnx PICTURE..."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
about = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
size, resample = about["preprocessing"]["size"], Image.Resampling[about["preprocessing"]["interpolation"].upper()]
outputs = [output.name for output in session.get_outputs()]
for file in sys.argv[2:]:
    image = ImageOps.exif_transpose(Image.open(file)).convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image = image.resize([int(size * side / min(image.size)) for side in image.size], resample)
    left, top = (round((side - size) / 2) for side in image.size)
    pixels = np.asarray(image.crop((left, top, left + size, top + size)), np.float32) / 255
    found = dict(zip(outputs, session.run(outputs, {"image": pixels.transpose(2, 0, 1)[None]}), strict=True))
    verdict = {"score": float(found["score"][0]), "is_ood": bool(found["is_ood"][0]) if "is_ood" in found else None}
    print(json.dumps({"file": file, "class_name": about["class_names"][found["label"][0]], **verdict}))
