/**
 * Fetches one file by many clients at once and prints one line of JSON:
 * `node bench/tftp-load.ts '{"address":…,"name":…,"blockBytes":…,"windowBlocks":…,"clients":…}'`.
 */
import { runLoad, type Load } from './tftp-swarm.ts';

const load = JSON.parse(process.argv[2] ?? '{}') as Load;
process.stdout.write(`${JSON.stringify(runLoad(load))}\n`);
