"""What a deployment will do, worked out before it costs anything: memory, room for requests, ceilings of speed, cost.

Pure arithmetic over frozen values. What vLLM alone knows (block and page sizes, the blocks that a request takes) comes
from `server.engine.kv_layout` as a `KvLayout`.
"""
