import { main } from '#app/mod.ts';

process.exitCode = await main(process.argv.slice(2));
