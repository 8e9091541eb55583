use pipelines::prelude::*;

use std::marker::PhantomData;

use pipelines::Declared;

#[pipeline(arch = moe, route = route, custom(format))]
#[derive(Clone, Debug)]
pub struct Poet<'a, T: Clone, const LINES: usize = 4>
where
    T: Default,
    [&'a T; LINES]: Clone,
{
    #[param(default = 0.8)]
    temperature: f32,
    lines: PhantomData<[&'a T; LINES]>,
    title: &'a str,
    favourite: Option<T>,
}

fn route<T: Clone + Default, const LINES: usize>(
    _: &Poet<'_, T, LINES>,
    call: &CallOf<'_, Poet<'_, T, LINES>>,
    prepared: &PreparedOf<Poet<'_, T, LINES>>,
) -> Result<PlanOf<Poet<'static, u8>>> {
    pipelines::declared::route::<Poet<'_, T, LINES>>(call, prepared)
}

impl<'a, T: Clone + Default, const LINES: usize> Format for Poet<'a, T, LINES> {
    type Output = &'a str;

    fn format(&self, _: &CallOf<'_, Self>, _: RawOf<Self>) -> Result<Vec<&'a str>> {
        Ok(vec![self.title])
    }
}

fn main() {
    let poet = Poet::<String>::declared();
    assert_eq!(poet.temperature, 0.8);
    assert_eq!(poet.favourite, None);
    let _ = |poet: Pipeline<Poet<'static, String, 14>>| poet.run("Shall I compare thee").map(|poem| poem.output.len());
}
