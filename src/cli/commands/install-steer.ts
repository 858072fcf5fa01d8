import { resolve } from 'node:path';
import { JSON_OPTION, type Command, type OptionSpec } from '../command.ts';
import type { InstallAction } from '../local-commands.ts';
import type { Call, Context } from '../command.ts';

const NAME: OptionSpec = { flags: '--name <IMAGE>', help: 'which installation, if several run' };
const DRIVE = { name: 'drive', help: 'floppy0, cdrom0 …' };

function steering(
  word: string,
  summary: string,
  args: NonNullable<Command['args']>,
  action: (call: Call, context: Context) => InstallAction,
): Command {
  return {
    words: ['install', word],
    summary,
    args,
    options: [NAME],
    run: async (call, context) => {
      const name = call.text('name');
      const said = await context.local.steerInstall({
        action: action(call, context),
        ...(name === undefined ? {} : { name }),
      });
      context.screen.out.write(`${said}\n`);
      return 0;
    },
  };
}

/** What can be done to a running installation. */
export const INSTALL_STEERING: readonly Command[] = [
  steering(
    'swap',
    'put another medium into a drive',
    [DRIVE, { name: 'file', help: 'image of the medium; "next": the next floppy of the list' }],
    (call, { cwd }) => {
      const file = call.arg('file');
      return {
        kind: 'swap',
        drive: call.arg('drive'),
        file: file === 'next' ? file : resolve(cwd, file),
      };
    },
  ),
  steering('eject', 'take the medium out of a drive', [DRIVE], (call) => ({
    kind: 'eject',
    drive: call.arg('drive'),
  })),
  steering('text', 'the text screen', [], () => ({ kind: 'text' })),
  steering(
    'picture',
    'the screen as a picture',
    [{ name: 'file', help: 'PNG file to write' }],
    (call, { cwd }) => ({ kind: 'picture', file: resolve(cwd, call.arg('file')) }),
  ),
  steering(
    'type',
    'press keys',
    [{ name: 'keys', help: "text, with <ret>, <f3>, <ctrl+alt+delete> as keys: 'dir<ret>'" }],
    (call) => ({ kind: 'type', keys: call.arg('keys') }),
  ),
  steering('power', 'press the power button', [], () => ({ kind: 'power-button' })),
  steering('stop', 'power off at once', [], () => ({ kind: 'stop' })),
];

/** `polyboot install list`: the installations that run. */
export const installList: Command = {
  words: ['install', 'list'],
  summary: 'the installations that run',
  options: [JSON_OPTION],
  run: async (call, { local, screen }) => {
    const sessions = await local.installs();
    const text = call.flag('json')
      ? JSON.stringify(sessions, undefined, 2)
      : sessions.map((s) => `${s.name}  pid ${s.pid}`).join('\n');
    screen.out.write(text === '' ? 'No installation is running.\n' : `${text}\n`);
    return 0;
  },
};
