// The checks of kernel_check.
#pragma once

#include <functional>
#include <string>
#include <vector>

struct Case {
  std::string name;
  std::function<std::string()> run;  // returns what is wrong, or nothing
};

std::vector<Case> encoder_cases();  // char-CNN, highway, scalar mix
std::vector<Case> lstm_cases();
std::vector<Case> plan_cases();
