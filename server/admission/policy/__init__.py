"""The admission policy: a clock and events in, decisions out. No HTTP, no vLLM, no asyncio, no threads, no real time.

The daemon (`server.admission.desk`) and the simulator run this same code.
"""
