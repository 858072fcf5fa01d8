import { main } from '#app/mod.ts';

// Reads that must wait for a disk run in libuv's pool. Its four threads are too few for many disks;
// sixteen read cold data three times as fast. It is made at its first use, which is later than
// this.
process.env['UV_THREADPOOL_SIZE'] ??= '16';

process.exitCode = await main(process.argv.slice(2));
