import { existsSync, readFileSync } from 'node:fs';
import { EnvironmentError, errnoOf, messageOf, UserError } from '#base/mod.ts';
import { listInterfaces } from '#net/mod.ts';
import { parseConfig, type Config } from './config.ts';
import { CONFIG_PLACES } from './paths.ts';

/** The settings in force, and the file they came from (undefined: nobody wrote one). */
export type LoadedConfig = { readonly config: Config; readonly file: string | undefined };

/**
 * Reads the named file, or the first of the usual places, or takes the defaults: a proxy on every
 * interface that has an IPv4 address. Throws UserError with every fault of the file.
 */
export function loadConfig(named: string | undefined): LoadedConfig {
  const file = named ?? CONFIG_PLACES.find((p) => existsSync(p));
  const config = file === undefined ? parseConfig('', '') : parseConfig(readText(file), file);
  if (config.networks.length > 0) return { config, file };
  const names = listInterfaces()
    .filter((i) => !i.loopback && i.up && i.ipv4.length > 0)
    .map((i) => i.name);
  const yaml = `networks: [${names.map((n) => `{ interface: ${JSON.stringify(n)} }`).join(', ')}]`;
  return { config: { ...config, networks: parseConfig(yaml, 'defaults').networks }, file };
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (e) {
    if (errnoOf(e) === 'ENOENT') {
      throw new UserError('not-found', 'no-config', {
        what: `there is no file ${file}`,
        todo: 'write one (README.md shows the few lines), or leave --config away for a proxy on every interface',
      });
    }
    throw new EnvironmentError('config-unreadable', {
      what: `cannot read ${file}`,
      why: messageOf(e),
    });
  }
}
