import { RadvService } from '#radv/mod.ts';

/** Router advertisements as a process of its own; arguments: the interfaces. */
const service = await RadvService.start({
  interfaces: process.argv.slice(2),
  onAnswer: (name, solicitor) => {
    process.stdout.write(`answered ${solicitor} on ${name}\n`);
  },
});
process.stdout.write('ready\n');
process.once('SIGTERM', () => {
  void service.close();
});
