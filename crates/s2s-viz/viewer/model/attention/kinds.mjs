// The mechanisms that a configuration can name.

import { AdditiveAttention } from "./additive.mjs";
import { DotAttention } from "./dot.mjs";
import { DynamicConvolutionAttention } from "./dynamic_convolution.mjs";
import { LocationAttention } from "./location.mjs";
import { LocationRelativeAttention } from "./location_relative.mjs";
import { NoAttention } from "./none.mjs";
import { NtmAttention } from "./ntm.mjs";

const KINDS = {
  additive: (scope) => new AdditiveAttention(scope),
  dot: (_, config) => new DotAttention(config),
  general: (scope) => DotAttention.general(scope),
  location: (scope, config) => new LocationAttention(scope, config),
  "dynamic-convolution": (scope, config) => new DynamicConvolutionAttention(scope, config),
  ntm: (scope, config) => new NtmAttention(scope, config),
  "location-relative": (scope, config) => new LocationRelativeAttention(scope, config),
  none: () => new NoAttention(),
};

/** The mechanism of the `[model.attention]` table `config`. */
export function buildAttention(config, scope) {
  const build = KINDS[config.kind];
  if (!build) throw new Error(`this page does not know the attention "${config.kind}"`);
  return build(scope, config);
}
