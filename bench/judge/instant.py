"""A chat server that answers every request at once with the same text: `python -m bench.judge.instant PORT TEXT`."""

import asyncio
import json
import re
import sys

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Instant(asyncio.Protocol):
    """One connection. It reads no more of a request than its length."""

    answer: bytes

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (end := self._received.find(b"\r\n\r\n")) >= 0:
            length = _LENGTH.search(self._received, 0, end)
            end += 4 + (int(length[1]) if length else 0)
            if len(self._received) < end:
                return
            self._received = self._received[end:]
            self._transport.write(self.answer)  # type: ignore[attr-defined]


def answer(text: str) -> bytes:
    """A whole HTTP answer that holds a chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 3000, "completion_tokens": 30, "total_tokens": 3030}
    body = {
        "id": "1",
        "object": "chat.completion",
        "created": 0,
        "model": "instant",
        "choices": [choice],
        "usage": usage,
    }
    data = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(data), data)


async def serve(port: int, text: str) -> None:
    Instant.answer = answer(text)
    server = await asyncio.get_running_loop().create_server(Instant, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2]))
