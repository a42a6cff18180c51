"""Ask vLLM's own parser of `vllm serve`. Runs in the engine's environment.

Standard input: a JSON list of argument lists. Standard output, last line: {"options": [...],
"answers": [{"error": text} or {"values": {...}}, ...]}.
"""

import contextlib
import io
import json
import sys

from vllm.entrypoints.cli.serve import ServeSubcommand
from vllm.utils.argparse_utils import FlexibleArgumentParser

# Flags that the planner computes, as the parser names their values.
VALUES = (
    "model_tag", "max_model_len", "max_num_seqs", "max_num_batched_tokens", "dtype",
    "gpu_memory_utilization", "kv_cache_memory_bytes", "tensor_parallel_size", "enforce_eager",
    "kv_cache_dtype", "quantization",
)  # fmt: skip

root = FlexibleArgumentParser(prog="vllm")
serve = ServeSubcommand().subparser_init(root.add_subparsers(dest="subparser"))
answers = []
for arguments in json.load(sys.stdin):
    talk = io.StringIO()
    try:
        with contextlib.redirect_stderr(talk), contextlib.redirect_stdout(talk):
            # The root adds `serve`'s options a second time when it sees the word in sys.argv.
            parsed = serve.parse_args(arguments)
        answers.append({"values": {name: getattr(parsed, name) for name in VALUES}})
    except SystemExit:
        answers.append({"error": talk.getvalue().strip().splitlines()[-1]})
options = sorted(o for a in serve._actions for o in a.option_strings if o.startswith("--"))
print(json.dumps({"options": options, "answers": answers}, default=str))
