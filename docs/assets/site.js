'use strict';

// Films play by themselves, except where the system asks for reduced motion. Each has a button, and a page of them one for all.
const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
const films = [...document.querySelectorAll('.film')].filter(film => film.querySelector('img').style.animationName === 'film');
const all = document.querySelector('.pause-all');
const plays = film => film.classList.contains('playing');

function set(film, playing) {
  film.classList.toggle('playing', playing);
  film.classList.toggle('paused', !playing);
  film.querySelector('button').textContent = playing ? 'Pause' : 'Play';
}

function label() {
  if (all) all.textContent = films.some(plays) ? 'Pause all films' : 'Play all films';
}

for (const film of films) {
  const button = document.createElement('button'), heading = film.closest('.card')?.querySelector('h2');
  button.type = 'button';
  if (heading) button.setAttribute('aria-describedby', heading.id);
  button.addEventListener('click', () => { set(film, !plays(film)); label(); });
  film.append(button);
  set(film, !still);
}

if (all && films.length > 1) {
  all.hidden = false;
  all.addEventListener('click', () => { const playing = !films.some(plays); films.forEach(film => set(film, playing)); label(); });
}
label();

// Tables that scroll can be scrolled by key. The theme puts them into boxes when it has started
function reach() {
  for (const box of document.querySelectorAll('.md-typeset__scrollwrap:not([tabindex])')) {
    box.tabIndex = 0;
    box.setAttribute('role', 'region');
    box.setAttribute('aria-label', 'Table');
  }
}
new MutationObserver(reach).observe(document.querySelector('article') ?? document.body, {childList: true, subtree: true});
reach();

// The theme's search is a dialog without a name
document.querySelector('.md-search[role=dialog]')?.setAttribute('aria-label', 'Search');
