import type { Clock, Log } from '#base/mod.ts';
import { UserError } from '#base/mod.ts';
import type { ImageWork } from '../image.ts';
import data from './debian.json' with { type: 'json' };
import type { BuildRequest } from './debian-options.ts';
import { debianRecipe } from './debian.ts';

/** What a build works on. */
export type BuildContext = {
  /** The empty image file, open for reading and writing. */
  readonly fd: number;
  readonly name: string;
  readonly cacheFolder: string;
  readonly clock: Clock;
  readonly log: Log;
  /** Space left where the image lies. */
  readonly freeBytes: number;
};

/** A finished build. */
export type Built = { readonly sizeBytes: number; readonly source: string };

/**
 * A system that can be built. What differs between the releases and relatives of one system is data
 * (`debian.json`: packages, kernels, modules); how such a family is made is code (`debian.ts`).
 */
export interface Recipe {
  readonly name: string;
  readonly releases: readonly string[];
  /**
   * Fills the empty image. Rejects with UserError `build-request`, EnvironmentError, or the
   * signal's reason.
   */
  build(request: BuildRequest, context: BuildContext, work: ImageWork): Promise<Built>;
}

/** Every recipe there is. Another relative of Debian is one more line and its data. */
export const RECIPES: readonly Recipe[] = [debianRecipe(data)];

/** Throws UserError `recipe-unknown`, naming those there are. */
export function findRecipe(name: string): Recipe {
  const recipe = RECIPES.find((r) => r.name === name);
  if (recipe !== undefined) return recipe;
  throw new UserError('not-found', 'recipe-unknown', {
    what: `there is no recipe "${name}"`,
    todo: `choose one of: ${RECIPES.map((r) => r.name).join(', ')}`,
  });
}
