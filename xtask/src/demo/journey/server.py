"""A server that knows nothing of moving: pages and a large download by HTTP, at
port 8080, and at port 7000 lines sent back with the address it has there."""

import asyncio
import hashlib
import os

PIECES, PIECE = 4096, 1 << 16


def address(writer):
    # Asked of the socket each time: asyncio keeps what it was in the beginning.
    return writer.get_extra_info('socket').getsockname()[0]


async def web(reader, writer):
    path = (await reader.readline()).split()[1]
    while (await reader.readline()).strip():
        pass
    if path == b'/download':
        writer.write(b'HTTP/1.0 200 OK\r\nContent-Length: %d\r\n\r\n' % (PIECES * PIECE))
        for number in range(PIECES):
            writer.write(hashlib.shake_128(b'%d' % number).digest(PIECE))
            await writer.drain()
    else:
        page = f'process {os.getpid()} answers at {address(writer)}\n'
        writer.write(b'HTTP/1.0 200 OK\r\n\r\n' + page.encode())
    await writer.drain()
    writer.close()


async def echo(reader, writer):
    while line := await reader.readline():
        writer.write(address(writer).encode() + b' ' + line)
    writer.close()


async def main():
    await asyncio.start_server(web, '0.0.0.0', 8080)
    await asyncio.start_server(echo, '0.0.0.0', 7000)
    print('listening', flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
