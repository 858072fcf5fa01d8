import { dirname, isAbsolute, join } from 'node:path';
import type { Config } from './config.ts';

/** Where one server keeps its things. All absolute. */
export type Paths = {
  readonly state: string;
  readonly database: string;
  readonly events: string;
  readonly leases: string;
  readonly images: string;
  /** What disks keep beyond a restart: reservations, saved mode pages, logs of atomic writes. */
  readonly units: string;
  /** Kernels, initrds and whatever else a boot plan names. */
  readonly files: string;
  /** Downloaded and prepared parts of image builds; may be deleted at any time. */
  readonly cache: string;
  readonly socket: string;
};

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * What decides the folders: the settings, else the user's own place, else the system's for root.
 */
export function pathsOf(config: Config, env: Environment, isRoot: boolean): Paths {
  const data = xdg(env, 'XDG_DATA_HOME') ?? join(xdg(env, 'HOME') ?? '/', '.local/share');
  const state = config.state ?? (isRoot ? '/var/lib/polyboot' : join(data, 'polyboot'));
  return {
    state,
    database: join(state, 'polyboot.db'),
    events: join(state, 'events.db'),
    leases: join(state, 'leases.journal'),
    images: config.images ?? join(state, 'images'),
    units: join(state, 'units'),
    files: config.files ?? join(state, 'files'),
    cache: cacheFolder(env),
    socket: config.admin.socket ?? defaultSocket(env, isRoot),
  };
}

/** What can be deleted at any time: downloaded packages, answers of slow probes. */
export function cacheFolder(env: Environment): string {
  const parent = xdg(env, 'XDG_CACHE_HOME') ?? join(xdg(env, 'HOME') ?? '/var', '.cache');
  return join(parent, 'polyboot');
}

/** The admin socket that the commands use when nothing else is said. */
export function defaultSocket(env: Environment, isRoot: boolean): string {
  const named = env['POLYBOOT_SOCKET'];
  if (named !== undefined && named !== '') return named;
  const runtime = xdg(env, 'XDG_RUNTIME_DIR');
  if (isRoot || runtime === undefined) return '/run/polyboot/admin.sock';
  return join(runtime, 'polyboot/admin.sock');
}

/** XDG Base Directory Specification: an empty variable is none, and a relative path is ignored. */
function xdg(env: Environment, name: string): string | undefined {
  const path = env[name];
  return path !== undefined && isAbsolute(path) ? path : undefined;
}

/** Sockets and notes of what runs, beside the admin socket: empty after a restart of the host. */
export function runtimeFolder(env: Environment, isRoot: boolean): string {
  return dirname(defaultSocket(env, isRoot));
}

/** Configuration files that are looked for when none is named, first one wins. */
export const CONFIG_PLACES = ['polyboot.yaml', '/etc/polyboot/polyboot.yaml', '/etc/polyboot.yaml'];
