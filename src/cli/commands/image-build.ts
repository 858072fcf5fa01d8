import type { ImageRequestInput } from '#api/mod.ts';
import type { Call, Command } from '../command.ts';
import { readText } from '../plan-options.ts';
import { makeImage, NEW_IMAGE_OPTIONS, noteOf, sizeOf } from './image-work.ts';

type Build = Extract<ImageRequestInput, { action: 'build' }>;

/** `polyboot image build`. */
export const imageBuild: Command = {
  words: ['image', 'build'],
  summary: 'a disk with a system on it, by a recipe: boots from BIOS and UEFI',
  args: [{ name: 'name', help: 'name of the new image' }],
  options: [
    { flags: '--recipe <RECIPE>', help: 'what to build', choices: ['debian'], fallback: 'debian' },
    { flags: '--release <NAME>', help: 'release of the system, such as bookworm' },
    {
      flags: '--kernel <KIND>',
      help: 'cloud: small, for virtual machines; generic: drivers for real computers',
      choices: ['cloud', 'generic'],
    },
    { flags: '--size <SIZE>', help: 'such as 4G (default: what the packages need)' },
    { flags: '--host-name <NAME>', help: 'host name (default: the name of the image)' },
    { flags: '--package <NAME>', help: 'a further package', repeat: true },
    { flags: '--ssh-key-file <FILE>', help: 'public keys of root (installs sshd)', repeat: true },
    { flags: '--root-password-file <FILE>', help: 'file with the password of root' },
    { flags: '--first-boot-file <FILE>', help: 'script that runs once as root, at the first boot' },
    { flags: '--user <NAME>', help: 'a login with the same keys', repeat: true },
    {
      flags: '--mirror <LINE>',
      help: 'a "deb" line instead of the archives of the host',
      repeat: true,
    },
    { flags: '--refresh', help: 'do not reuse what an earlier build downloaded' },
    ...NEW_IMAGE_OPTIONS,
  ],
  run: (call, context) => makeImage(requestOf(call, context.cwd), call, context),
};

function requestOf(call: Call, cwd: string): Build {
  const sizeBytes = sizeOf(call);
  const keys = call.list('ssh-key-file')?.flatMap((file) => keysOf(readText(cwd, file)));
  const passwordFile = call.text('root-password-file');
  const firstBoot = call.text('first-boot-file');
  const kernel = call.text('kernel');
  const request = {
    action: 'build' as const,
    recipe: 'debian' as const,
    name: call.arg('name'),
    release: call.text('release'),
    kernel: kernel === 'cloud' || kernel === 'generic' ? kernel : undefined,
    sizeBytes,
    hostName: call.text('host-name'),
    packages: call.list('package'),
    sshKeys: keys,
    firstBoot: firstBoot === undefined ? undefined : readText(cwd, firstBoot),
    users: call.list('user')?.map((name) => ({ name, ...(keys && { sshKeys: keys }) })),
    rootPassword:
      passwordFile === undefined ? undefined : readText(cwd, passwordFile).replace(/\r?\n$/, ''),
    mirror: call.list('mirror'),
    refresh: call.flag('refresh') || undefined,
    ...noteOf(call),
  };
  const said = Object.entries(request).filter(([, value]) => value !== undefined);
  return Object.fromEntries(said) as Build;
}

function keysOf(text: string): string[] {
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}
