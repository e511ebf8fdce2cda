"""What many write first: a client, a semaphore and gather. Needs nothing but the client's package.

    python naive.py openai|httpx2 joint|per-criterion URL MATERIAL.json IN_FLIGHT

MATERIAL.json holds the criteria's texts, the rubric's text, a JSON schema for the joint reply and the essays. `joint`
is one request per essay; `per-criterion` is two in a row for each criterion. Prints what it cost as JSON.
"""

import asyncio
import importlib
import json
import sys
import time
from pathlib import Path


def openai_ask(openai, url):
    client = openai.AsyncOpenAI(base_url=url, api_key="none", timeout=60, max_retries=2)

    async def ask(messages, **options):
        reply = await client.chat.completions.create(model="instant", messages=messages, temperature=0, **options)
        return reply.choices[0].message.content

    return ask


def httpx2_ask(httpx2, url):
    client = httpx2.AsyncClient(timeout=60)

    async def ask(messages, **options):
        body = {"model": "instant", "messages": messages, "temperature": 0, **options}
        reply = await client.post(f"{url}/chat/completions", json=body)
        return reply.raise_for_status().json()["choices"][0]["message"]["content"]

    return ask


async def main(ask, pattern, material, in_flight):
    """How many verdicts there were."""
    slots = asyncio.Semaphore(in_flight)

    async def joint(essay):
        prompt = (
            f"Grade the essay.\n\n{material['rubric']}\n\nPrompt: {essay['prompt']}\n\nEssay: {essay['completion']}"
        )
        schema = {"type": "json_schema", "json_schema": {"name": "r", "schema": material["schema"], "strict": True}}
        text = await ask([{"role": "user", "content": prompt}], max_tokens=2048, response_format=schema)
        return len(json.loads(text))

    async def per_criterion(essay):
        for criterion in material["criteria"]:
            prompt = (
                f"Prompt: {essay['prompt']}\n\nEssay: {essay['completion']}\n\n{criterion}\n\nSay why in a sentence."
            )
            messages = [{"role": "user", "content": prompt}]
            messages.append({"role": "assistant", "content": await ask(messages, max_tokens=48)})
            messages.append({"role": "user", "content": "Now the points."})
            await ask(messages, max_tokens=4)
        return len(material["criteria"])

    judge = {"joint": joint, "per-criterion": per_criterion}[pattern]

    async def one(essay):
        async with slots:
            return await judge(essay)

    return sum(await asyncio.gather(*map(one, material["essays"])))


def peak_mb():
    """The most memory that this process has held, in MB (VmHWM; getrusage would count the parent's, too)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


if __name__ == "__main__":
    name, pattern, url, path, in_flight = sys.argv[1:]
    ask = {"openai": openai_ask, "httpx2": httpx2_ask}[name](importlib.import_module(name), url)
    material = json.loads(Path(path).read_text())
    before_mb, cpu_s, began = peak_mb(), time.process_time(), time.monotonic()
    n_verdicts = asyncio.run(main(ask, pattern, material, int(in_flight)))
    costs = {"cpu_s": time.process_time() - cpu_s, "seconds": time.monotonic() - began}
    print(json.dumps(costs | {"n_verdicts": n_verdicts, "before_mb": before_mb, "peak_mb": peak_mb()}))
