import { JSON_OPTION, type Command } from '../command.ts';

/** `polyboot doctor`: what is missing on this host and network. */
export const doctor: Command = {
  words: ['doctor'],
  summary: 'look at host and network: what is missing, who else answers DHCP, what to do',
  options: [{ flags: '--config <FILE>', help: 'settings to look at' }, JSON_OPTION],
  run: (call, { local }) => {
    const config = call.text('config');
    return local.doctor({ json: call.flag('json'), ...(config === undefined ? {} : { config }) });
  },
};
